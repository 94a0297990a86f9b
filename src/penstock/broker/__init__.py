"""The port between the engine and its stores: requests and answers, and the protocols."""
