"""One decision over HTTP: read the store, guard, knock out, score, price, give reasons, log, answer."""
