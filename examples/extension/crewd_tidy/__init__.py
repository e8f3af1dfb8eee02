"""An extension of crewd. It has files only: crewd does not import it."""
