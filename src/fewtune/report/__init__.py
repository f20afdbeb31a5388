"""What is shown of results: tables for the terminal, CSV, JSON, and the page. Results come in; text and one HTML file go out."""
