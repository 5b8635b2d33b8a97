-- Expand: missing: names of the catalog that a worker's machine cannot have.
ALTER TABLE musicgen_workers ADD COLUMN missing text[] NOT NULL DEFAULT '{}';
