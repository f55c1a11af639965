-- name: campaign_vouchers_to_update
-- The next vouchers of a campaign that change with it: neither published nor redeemed, in the order of their creation.
SELECT id, created_at, xmin::text AS version
  FROM vouchers
 WHERE project_id = :project_id AND campaign_id = :campaign_id AND created_at > :after
   AND published_count = 0 AND redeemed_quantity = 0 AND holder_id IS NULL AND binned_at IS NULL
 ORDER BY created_at
 LIMIT :limit;

-- name: campaign_vouchers_update!
-- Give vouchers, which are locked, what their campaign has now, as far as it has changed. As an insert, see
-- customers_update. Of gift credits what was subtracted stays; of the metadata only some keys change. A voucher keeps
-- its own date where its other one, which does not change, would contradict the campaign's.
INSERT INTO vouchers AS v (project_id, id, code, code_key, type, discount, gift, category, start_date, expiration_date,
                           validity_timeframe, validity_day_of_week, validity_hours, metadata, created_at, updated_at)
SELECT :project_id, u.id, '', '', 'GIFT_VOUCHER', :discount::jsonb, :gift::jsonb, :category, :start_date,
       :expiration_date, :validity_timeframe::jsonb, :validity_day_of_week::jsonb, :validity_hours::jsonb,
       :metadata::jsonb, u.now, u.now
  FROM unnest(:ids::text[], :nows::timestamptz[]) AS u (id, now)
    ON CONFLICT (project_id, id) DO UPDATE
   SET discount = CASE WHEN 'discount' = ANY(:fields::text[]) THEN excluded.discount ELSE v.discount END,
       gift = CASE WHEN 'gift' = ANY(:fields::text[])
                   THEN excluded.gift || coalesce(v.gift - 'amount' - 'effect', '{}') ELSE v.gift END,
       category = CASE WHEN 'category' = ANY(:fields::text[]) THEN excluded.category ELSE v.category END,
       start_date = CASE WHEN 'start_date' = ANY(:fields::text[])
                          AND ('expiration_date' = ANY(:fields::text[])
                               OR coalesce(excluded.start_date <= v.expiration_date, true))
                         THEN excluded.start_date ELSE v.start_date END,
       expiration_date = CASE WHEN 'expiration_date' = ANY(:fields::text[])
                               AND ('start_date' = ANY(:fields::text[])
                                    OR coalesce(excluded.expiration_date >= v.start_date, true))
                              THEN excluded.expiration_date ELSE v.expiration_date END,
       validity_timeframe = CASE WHEN 'validity_timeframe' = ANY(:fields::text[])
                                 THEN excluded.validity_timeframe ELSE v.validity_timeframe END,
       validity_day_of_week = CASE WHEN 'validity_day_of_week' = ANY(:fields::text[])
                                   THEN excluded.validity_day_of_week ELSE v.validity_day_of_week END,
       validity_hours = CASE WHEN 'validity_hours' = ANY(:fields::text[])
                             THEN excluded.validity_hours ELSE v.validity_hours END,
       metadata = (v.metadata - :metadata_keys::text[]) || excluded.metadata,
       updated_at = excluded.updated_at;
