"""Restore whole folders: find the photos, restore them in worker processes, keep a manifest, resume, report."""
