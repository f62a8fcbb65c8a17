"""Run the whole fault suite, the long cases too, and print its figures: python tests/segstream/faults/report.py"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from segstream.cli.main import settle_threads

settle_threads()  # as the command does

if __name__ == "__main__":
    sys.exit(pytest.main([str(Path(__file__).parent), "-q", "-m", "slow or not slow", *sys.argv[1:]]))
