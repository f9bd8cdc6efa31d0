"""Models that ship with Muroan, and adapters that make other people's models auditable."""
