"""From what a person has (a file, an array) to the same thing restored."""
