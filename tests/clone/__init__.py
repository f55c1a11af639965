"""The README's commands in a fresh clone, to the letter."""
