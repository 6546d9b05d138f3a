"""Reading a row of the mapping table: columns, their values, and what is wrong with them."""
