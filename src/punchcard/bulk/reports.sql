-- name: async_action_reports_insert!
-- What a portion says about its records, as JSON Lines, in rows of a page at most.
INSERT INTO async_action_reports (project_id, action_id, first_record, records, body)
SELECT :project_id, :id, u.first_record, u.records, u.body
  FROM unnest(:first_records::integer[], :records::integer[], :bodies::bytea[]) AS u (first_record, records, body);

-- name: async_action_report_get
-- An action and how many records its report has.
SELECT a.type, a.finished_at, a.report_deleted_at, clock_timestamp() AS now,
       (SELECT coalesce(sum(r.records), 0)::bigint FROM async_action_reports AS r
         WHERE r.project_id = :project_id AND r.action_id = :id) AS records
  FROM async_actions AS a
 WHERE a.project_id = :project_id AND a.id = :id;

-- name: async_action_report_page
-- The rows of a report behind a record: at most so many, and no more than what exceeds :bytes_max. The sizes are known
-- without reading the lines themselves.
SELECT first_record, records, body
  FROM (SELECT first_record, records, body,
               sum(size) OVER (ORDER BY first_record ROWS UNBOUNDED PRECEDING) - size AS before
          FROM (SELECT first_record, records, body, octet_length(body) AS size
                  FROM async_action_reports
                 WHERE project_id = :project_id AND action_id = :id AND first_record > :after
                 ORDER BY first_record
                 LIMIT :limit) AS next) AS measured
 WHERE before < :bytes_max
 ORDER BY first_record;
