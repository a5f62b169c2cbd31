"""Messages and stubs for the part of etcd's v3 API that zonelock uses, made by `generate.py`; never edited."""
