-- Expand: stable code of a failed load, for texts in other languages; null from an older worker.
ALTER TABLE musicgen_wanted ADD COLUMN error_code text;
