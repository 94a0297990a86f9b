"""The brokers that come with Penstock. Each package is imported only when its URL is used."""
