"""A saved model over HTTP: requests are read and checked, their items wait in a bounded queue, are answered in small batches by one
thread, and come back as JSON. It stands on `models` and needs the extra `serve` (starlette, uvicorn, python-multipart)."""
