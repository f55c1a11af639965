"""Orders: reads, amounts, and the bulk import of historical orders."""
