-- name: customer_segments
-- The segments of one customer, by id or source id; one row without a segment if there is such a customer.
SELECT c.id AS customer_id, s.id, s.name
  FROM (SELECT coalesce((SELECT id FROM customers WHERE project_id = :project_id AND id = :id),
                        (SELECT id FROM customers WHERE project_id = :project_id AND source_id = :id)) AS id) AS c
  LEFT JOIN segment_members AS m ON m.project_id = :project_id AND m.customer_id = c.id
  LEFT JOIN segments AS s ON s.project_id = :project_id AND s.id = m.segment_id
 WHERE c.id IS NOT NULL
 ORDER BY s.created_at;

-- name: segment_member
-- Whether a customer, by id or source id, is in a segment, and whether it waits to be placed.
SELECT s.id, s.name, s.type, s.filter::text AS filter, c.id AS customer_id, m.entered_at, m.async_action_id, p.timezone,
       EXISTS (SELECT FROM segment_inbox AS i
                WHERE i.project_id = :project_id AND (i.customer_id = c.id OR i.segment_id = s.id)) AS waiting
  FROM segments AS s
  JOIN projects AS p ON p.id = s.project_id
  LEFT JOIN (SELECT coalesce((SELECT id FROM customers WHERE project_id = :project_id AND id = :customer),
                        (SELECT id FROM customers WHERE project_id = :project_id AND source_id = :customer)) AS id) AS c
         ON true
  LEFT JOIN segment_members AS m ON m.project_id = :project_id AND m.segment_id = s.id AND m.customer_id = c.id
 WHERE s.project_id = :project_id AND s.id = :id;

-- name: segment_members_stretch
-- The next members of a segment, with what an export says of them; of those who are deleted nothing but who they were.
SELECT m.customer_id, m.entered_at, m.async_action_id, c.source_id, c.name, c.email, c.phone, c.created_at
  FROM (SELECT customer_id, entered_at, async_action_id FROM segment_members
         WHERE project_id = :project_id AND segment_id = :segment_id AND customer_id > :after
         ORDER BY customer_id
         LIMIT :limit) AS m
  LEFT JOIN LATERAL (
       SELECT source_id, name, email, phone, created_at FROM customers
        WHERE project_id = :project_id AND id = m.customer_id LIMIT 1) AS c ON true
 ORDER BY m.customer_id;
