"""Features of rows that no gradient needs: made once, kept on disk, and found again by what they were made from."""
