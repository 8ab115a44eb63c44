"""Mathematics several methods share."""
