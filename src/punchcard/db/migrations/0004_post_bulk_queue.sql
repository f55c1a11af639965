-- Lanes are known by their turns now.

SET LOCAL lock_timeout = '4s';

DROP TABLE lanes;
