-- Expand: missing_parts: parts of clips that a worker cannot make, each with what to do about it.
ALTER TABLE musicgen_workers ADD COLUMN missing_parts jsonb NOT NULL DEFAULT '{}';
