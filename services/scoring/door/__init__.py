"""What a request passes before the service sees it: who asks, how much, how fast."""
