"""Pages, tables and pictures made from run directories."""
