"""How fast the library is, as ratios to what a user would pick instead: ``make bench``."""
