"""Where exported models are kept from run to run."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".zoo"
