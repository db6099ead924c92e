"""The campaign file: schema with units, protocols, located errors."""
