"""Files written from the declarations of request fields, settings and errors."""
