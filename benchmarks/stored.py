"""A project that has many orders already: made set-wise in SQL from one imported order, so that it takes a minute."""

import psycopg
from msgspec import Struct

# one day back, so that what is imported later is newer than all of it
_ORDERS = """
INSERT INTO orders (project_id, id, source_id, status, customer_id, amount, total_amount, initial_amount,
                    discount_amount, items_amount, items_discount_amount, items, metadata, ordered_at, created_at,
                    async_action_id)
SELECT %(project_id)s, 'ord_' || lpad(to_hex(1600000000000 + no), 12, '0') || lpad(to_hex(no), 8, '0')
                              || left(md5(no::text), 12),
       'stored-' || no, t.status,
       'cust_' || lpad(to_hex(1600000000000 + no %% %(customers)s), 12, '0')
               || left(md5((no %% %(customers)s)::text), 20),
       t.amount, t.total_amount, t.initial_amount, t.discount_amount, t.items_amount, t.items_discount_amount,
       t.items, t.metadata, t.ordered_at + no * interval '1 second',
       t.created_at - interval '1 day' + no * interval '1 microsecond', t.async_action_id
  FROM orders AS t CROSS JOIN generate_series(1, %(orders)s) AS no
 WHERE t.project_id = %(project_id)s AND t.source_id = %(like)s
"""
_CUSTOMERS = """
INSERT INTO customers (project_id, id, source_id, name, email, address, metadata, created_at, orders_total_amount,
                       orders_total_count, orders_last_id, orders_last_amount, orders_last_date, async_action_id)
SELECT %(project_id)s, o.customer_id, 'stored-' || o.no, 'Customer ' || o.no, 'stored-' || o.no || '@shop.example',
       t.address, t.metadata, t.created_at - interval '1 day' + o.no * interval '1 microsecond',
       o.total_amount, o.total_count, o.last_id, t.orders_last_amount, o.last_date, t.async_action_id
  FROM (SELECT customer_id, row_number() OVER (ORDER BY customer_id) AS no, sum(total_amount)::bigint AS total_amount,
               count(*) AS total_count, max(id) AS last_id, max(ordered_at) AS last_date
          FROM orders WHERE project_id = %(project_id)s AND source_id LIKE 'stored-%%' GROUP BY customer_id) AS o
 CROSS JOIN customers AS t
 WHERE t.project_id = %(project_id)s AND t.source_id = %(customer_like)s
"""
_TOTALS = """
INSERT INTO row_totals AS t (project_id, resource, slot, total)
VALUES (%(project_id)s, 'orders', 0, %(orders)s), (%(project_id)s, 'customers', 0, %(customers)s)
    ON CONFLICT (project_id, resource, slot) DO UPDATE SET total = t.total + excluded.total
"""


class Stored(Struct):
    """How much a project has: `orders`, spread evenly over `customers`."""

    orders: int
    customers: int


def fill(dsn: str, project: str, stored: Stored, *, like: str, customer_like: str) -> None:
    """Give the project orders and customers like the two of these source ids; VACUUM and ANALYZE follow."""
    parameters = {
        "project_id": project,
        "orders": stored.orders,
        "customers": stored.customers,
        "like": like,
        "customer_like": customer_like,
    }
    with psycopg.connect(dsn, autocommit=True) as conn:
        if stored.orders:
            with conn.transaction():
                for statement in (_ORDERS, _CUSTOMERS, _TOTALS):
                    conn.execute(statement.encode(), parameters)
        settle(conn)


def settle(conn: psycopg.Connection) -> None:
    """What the server would do some time later, and in the middle of a measurement, it does now."""
    for table in ("orders", "customers", "products", "row_totals"):
        conn.execute(f"VACUUM (ANALYZE) {table}".encode())
    conn.execute("CHECKPOINT")
