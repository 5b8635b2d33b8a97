-- Expand: licences: licences by model name, of a worker's models outside the catalog.
ALTER TABLE musicgen_workers ADD COLUMN licences jsonb NOT NULL DEFAULT '{}';
