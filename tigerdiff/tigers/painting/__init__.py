"""The painter: primitives, maps, portraits and backdrops. All is arithmetic on many tigers."""
