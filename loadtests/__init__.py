"""Load generators that prove what the kit promises; started by hand, by make and by tests."""
