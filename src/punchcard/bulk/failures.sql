-- name: failures_of_action
-- How many records of an action failed so far, whether it is finished, and since when they are no longer given out:
-- when retention deleted them, or when it was due to. None of them would be missing without a word meanwhile.
SELECT records_failed, finished_at IS NOT NULL AS finished,
       coalesce(emptied_at,
                CASE WHEN finished_at + :days * interval '1 day' <= clock_timestamp()
                     THEN finished_at + :days * interval '1 day' END) AS deleted_at
  FROM async_actions
 WHERE project_id = :project_id AND id = :id;

-- name: failures_page
-- The failures behind a record, in the order of the request: at most so many, and no more than what exceeds
-- :bytes_max. The sizes are known without reading the records themselves.
SELECT record, source_id, reason, body
  FROM (SELECT record, source_id, reason, body,
               sum(size) OVER (ORDER BY record ROWS UNBOUNDED PRECEDING) - size AS before
          FROM (SELECT record, source_id, reason, body, octet_length(body) AS size
                  FROM async_action_failures
                 WHERE project_id = :project_id AND action_id = :id AND record > :after
                 ORDER BY record
                 LIMIT :limit) AS next) AS measured
 WHERE before < :bytes_max
 ORDER BY record;
