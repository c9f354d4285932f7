"""``python -m lessons``: list the lessons, run them, and make the table of verdicts."""

import sys

from dlnotes.lesson import command_line

# What shows best, in about five minutes, what these lessons are about; the order is the order of the tour.
TOUR = ("temperature", "momentum", "when_to_stop", "convolution_arithmetic", "beam_search")

if __name__ == "__main__":
    sys.exit(command_line(sys.argv[1:], tour=TOUR))
