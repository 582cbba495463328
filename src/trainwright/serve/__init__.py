"""The service: everything the commands do, over HTTP. `app.py` puts it together; each area is one file `routes_*.py`."""
