"""What a training run leaves for people: an evaluation page, a model card, and the numbers in both."""
