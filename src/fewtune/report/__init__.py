"""How results are shown: as tables for the terminal, as CSV and JSON, and as a page. Results come in; text and one HTML file go out."""
