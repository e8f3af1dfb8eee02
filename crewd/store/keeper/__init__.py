"""What takes long and concerns whole runs or the whole home: removal, bundles that come and go, backups."""
