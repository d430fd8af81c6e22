"""`[verdict]`: what repairs are tried on, before and after."""
