"""A cohort in numbers and pictures, alone or beside another."""
