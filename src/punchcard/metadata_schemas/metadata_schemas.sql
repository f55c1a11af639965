-- name: metadata_schemas_get_all
-- All schemas of a project, by the name of their object.
SELECT id, related_object, properties, allow_defined_only, created_at, updated_at
  FROM metadata_schemas WHERE project_id = :project_id
 ORDER BY related_object COLLATE "C";

-- name: metadata_schema_get
SELECT id, related_object, properties, allow_defined_only, created_at, updated_at
  FROM metadata_schemas WHERE project_id = :project_id AND related_object = :related_object;

-- name: metadata_schemas_lock
-- One at a time defines a project's metadata: what is new cannot be locked row by row.
SELECT id FROM projects WHERE id = :project_id FOR NO KEY UPDATE;

-- name: metadata_schemas_write!
-- New and changed schemas. Rows of one statement are a microsecond apart.
INSERT INTO metadata_schemas (project_id, id, related_object, properties, allow_defined_only, created_at)
SELECT :project_id, s.id, s.related_object, s.properties, s.allow_defined_only,
       now() + s.no * interval '1 microsecond'
  FROM unnest(:ids::text[], :related_objects::text[], :properties::jsonb[], :allow_defined_only::boolean[])
       WITH ORDINALITY AS s (id, related_object, properties, allow_defined_only, no)
    ON CONFLICT (project_id, related_object) DO UPDATE
   SET properties = excluded.properties, allow_defined_only = excluded.allow_defined_only,
       updated_at = excluded.created_at;
