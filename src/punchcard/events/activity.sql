-- name: activity_list
-- What lists of events show. Conditions, order and limit are put around it: see http.pages.
SELECT id, type, data, event_source, created_at, group_id, object_id, customer_id, campaign_id, async_action_id, depth
  FROM events
 WHERE project_id = :project_id;

-- name: activity_place
-- Where an event stands. The range of time that its id tells leaves one or two partitions to look at.
SELECT created_at, id FROM events
 WHERE project_id = :project_id AND id = :id AND created_at >= :earliest AND created_at <= :latest;

-- name: activity_customer
-- The id of a customer by id or source id; the id wins.
SELECT id FROM customers
 WHERE project_id = :project_id
   AND id = coalesce(
       (SELECT id FROM customers WHERE project_id = :project_id AND id = :id),
       (SELECT id FROM customers WHERE project_id = :project_id AND source_id = :id));
