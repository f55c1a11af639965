"""Custom events: what they are called and may carry, and tracking them."""
