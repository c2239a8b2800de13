-- Written by `make queries`; see notifier/store/query_statements.py. Not to be edited.

-- name: time
-- takes:
-- gives: id, boot, at time, seconds, since time
SELECT clock.id, clock.boot, clock.at, clock.seconds, clock.since
FROM clock;
-- name: sources
-- takes:
-- gives: name, region, project_id, feeds, baseline_at time, last_poll_at time, last_full_at time, last_full_calls, pruned_to time, last_error, failing_since time, failures, announced_since time, next_poll_at time, claimed_by, claimed_until time, epoch, refused_since time, refused_rows, empty_since time, clock_skew, polled_by, retired_at time, introduced_at time, active_at time, promised_at time, scanned_by, scanned_at time, rung_at time, rung_epoch, tasks, running
SELECT sources.name, sources.region, sources.project_id, sources.feeds, sources.baseline_at, sources.last_poll_at, sources.last_full_at, sources.last_full_calls, sources.pruned_to, sources.last_error, sources.failing_since, sources.failures, sources.announced_since, sources.next_poll_at, sources.claimed_by, sources.claimed_until, sources.epoch, sources.refused_since, sources.refused_rows, sources.empty_since, sources.clock_skew, sources.polled_by, sources.retired_at, sources.introduced_at, sources.active_at, sources.promised_at, sources.scanned_by, sources.scanned_at, sources.rung_at, sources.rung_epoch, (SELECT count(*) AS count_1
FROM tasks
WHERE tasks.source = sources.name) AS tasks, CASE WHEN (sources.retired_at IS NULL) THEN (SELECT count(*) AS count_1
FROM tasks
WHERE tasks.source = sources.name AND tasks.status = 'running') ELSE 0 END AS running
FROM sources ORDER BY sources.name;
-- name: source_states
-- takes:
-- gives: name, region, project_id, feeds, baseline_at time, last_poll_at time, last_full_at time, last_full_calls, pruned_to time, last_error, failing_since time, failures, announced_since time, next_poll_at time, claimed_by, claimed_until time, epoch, refused_since time, refused_rows, empty_since time, clock_skew, polled_by, retired_at time, introduced_at time, active_at time, promised_at time, scanned_by, scanned_at time, rung_at time, rung_epoch
SELECT sources.name, sources.region, sources.project_id, sources.feeds, sources.baseline_at, sources.last_poll_at, sources.last_full_at, sources.last_full_calls, sources.pruned_to, sources.last_error, sources.failing_since, sources.failures, sources.announced_since, sources.next_poll_at, sources.claimed_by, sources.claimed_until, sources.epoch, sources.refused_since, sources.refused_rows, sources.empty_since, sources.clock_skew, sources.polled_by, sources.retired_at, sources.introduced_at, sources.active_at, sources.promised_at, sources.scanned_by, sources.scanned_at, sources.rung_at, sources.rung_epoch
FROM sources ORDER BY sources.name;
-- name: tasks
-- takes: status, since time, instance, instance_like, instance_names list, instance_id, instance_name, source, sources list, names list, name_like, name_likes list, among list, unlike list, instance_ids list, storm, whole_job_id, job_id, after_changed_at time, after_key, limit, offset
-- gives: source, job_id, name, status, raw_status, progress, instance_id, instance_name, instance_status, created_at time, ended_at time, fail_reason, seconds, occurrence, missing, unlisted boolean, first_seen_at time, changed_at time, events_pruned boolean, started_by, alarm, newest, newest_facts, acknowledged_event_id, acknowledged_by, acknowledged_name, acknowledged_at time
SELECT found.source, found.job_id, found.name, found.status, found.raw_status, found.progress, found.instance_id, found.instance_name, found.instance_status, found.created_at, found.ended_at, found.fail_reason, found.seconds, found.occurrence, found.missing, found.unlisted, found.first_seen_at, found.changed_at, found.events_pruned, found.started_by, found.alarm, last.type AS newest, last.facts AS newest_facts, acknowledgements.event_id AS acknowledged_event_id, acknowledgements."by" AS acknowledged_by, acknowledgements.name AS acknowledged_name, acknowledgements.at AS acknowledged_at
FROM (SELECT tasks.source AS source, tasks.job_id AS job_id, tasks.name AS name, tasks.status AS status, tasks.raw_status AS raw_status, tasks.progress AS progress, tasks.instance_id AS instance_id, tasks.instance_name AS instance_name, tasks.instance_status AS instance_status, tasks.created_at AS created_at, tasks.ended_at AS ended_at, tasks.fail_reason AS fail_reason, tasks.seconds AS seconds, tasks.occurrence AS occurrence, tasks.missing AS missing, tasks.unlisted AS unlisted, tasks.first_seen_at AS first_seen_at, tasks.changed_at AS changed_at, tasks.events_pruned AS events_pruned, tasks.started_by AS started_by, tasks.alarm AS alarm
FROM tasks
WHERE /*if running*/(tasks.status = 'running' AND NOT (EXISTS (SELECT *
FROM sources
WHERE sources.name = tasks.source AND sources.retired_at IS NOT NULL)))/*end*/ AND /*if status*/(tasks.status = :status)/*end*/ AND /*if since*/(tasks.created_at >= :since OR tasks.ended_at >= :since OR tasks.changed_at >= :since)/*end*/ AND /*if instance_like*/(tasks.instance_id = :instance OR lower(tasks.instance_name) LIKE :instance_like ESCAPE '/')/*end*/ AND /*if instance_names*/(tasks.instance_id = :instance OR tasks.instance_name IN (SELECT value FROM json_each(:instance_names)))/*end*/ AND /*if instance_id*/(tasks.instance_id = :instance_id)/*end*/ AND /*if instance_name*/(tasks.instance_name = :instance_name)/*end*/ AND /*if source*/(tasks.source = :source)/*end*/ AND /*if sources*/(tasks.source IN (SELECT value FROM json_each(:sources)))/*end*/ AND /*if names*/(tasks.name IN (SELECT value FROM json_each(:names)))/*end*/ AND /*if name_like*/(lower(coalesce(tasks.instance_name, '')) LIKE :name_like ESCAPE '/')/*end*/ AND /*if name_likes*/(EXISTS (SELECT 1 FROM json_each(:name_likes) WHERE lower(coalesce(tasks.instance_name, '')) LIKE value ESCAPE '/'))/*end*/ AND /*if among*/(tasks.instance_name IN (SELECT value FROM json_each(:among)))/*end*/ AND /*if unlike*/(NOT EXISTS (SELECT 1 FROM json_each(:unlike) WHERE lower(coalesce(tasks.instance_name, '')) LIKE value ESCAPE '/'))/*end*/ AND /*if instance_ids*/(tasks.instance_id IN (SELECT value FROM json_each(:instance_ids)))/*end*/ AND /*if storm*/((tasks.source, tasks.job_id) IN (SELECT events.source, events.job_id
FROM events JOIN delivery_events ON delivery_events.event_id = events.id JOIN deliveries ON deliveries.id = delivery_events.delivery_id
WHERE deliveries.storm = :storm))/*end*/ AND /*if unacknowledged*/(EXISTS (SELECT *
FROM events
WHERE events.seq = (SELECT max("of".seq) AS max_1
FROM events AS "of"
WHERE "of".source = tasks.source AND "of".job_id = tasks.job_id) AND (events.type = 'task.failed' OR events.type = 'task.unlisted' OR events.type = 'task.stalled' OR events.type = 'task.overdue' OR events.type = 'task.missing' OR events.type = 'alarm.raised' OR events.type = 'maintenance.awaiting' OR events.type = 'maintenance.failed') AND NOT (EXISTS (SELECT *
FROM acknowledgements
WHERE acknowledgements.event_id = events.id))))/*end*/ AND /*if whole_job_id*/(tasks.job_id = :whole_job_id)/*end*/ AND /*if job_id*/(substr(tasks.job_id, 1, length(:job_id)) = :job_id AND tasks.job_id BETWEEN :job_id AND :job_id || char(1114111))/*end*/ AND /*if after_key*/(tasks.changed_at <= :after_changed_at AND (tasks.changed_at < :after_changed_at OR (tasks.job_id || '/' || tasks.source) > :after_key))/*end*/ ORDER BY tasks.changed_at DESC, tasks.job_id || '/' || tasks.source
 LIMIT :limit OFFSET :offset) AS found LEFT OUTER JOIN events AS last ON last.seq = (SELECT max(events.seq) AS max_2
FROM events
WHERE events.source = found.source AND events.job_id = found.job_id) LEFT OUTER JOIN acknowledgements ON acknowledgements.event_id = last.id ORDER BY found.changed_at DESC, found.job_id || '/' || found.source;
-- name: task_counts
-- takes: status, since time, instance, instance_like, instance_names list, instance_id, instance_name, source, sources list, names list, name_like, name_likes list, among list, unlike list, instance_ids list, storm, whole_job_id, job_id, after_changed_at time, after_key
-- gives: source, number
SELECT tasks.source, count(*) AS number
FROM tasks
WHERE /*if running*/(tasks.status = 'running' AND NOT (EXISTS (SELECT *
FROM sources
WHERE sources.name = tasks.source AND sources.retired_at IS NOT NULL)))/*end*/ AND /*if status*/(tasks.status = :status)/*end*/ AND /*if since*/(tasks.created_at >= :since OR tasks.ended_at >= :since OR tasks.changed_at >= :since)/*end*/ AND /*if instance_like*/(tasks.instance_id = :instance OR lower(tasks.instance_name) LIKE :instance_like ESCAPE '/')/*end*/ AND /*if instance_names*/(tasks.instance_id = :instance OR tasks.instance_name IN (SELECT value FROM json_each(:instance_names)))/*end*/ AND /*if instance_id*/(tasks.instance_id = :instance_id)/*end*/ AND /*if instance_name*/(tasks.instance_name = :instance_name)/*end*/ AND /*if source*/(tasks.source = :source)/*end*/ AND /*if sources*/(tasks.source IN (SELECT value FROM json_each(:sources)))/*end*/ AND /*if names*/(tasks.name IN (SELECT value FROM json_each(:names)))/*end*/ AND /*if name_like*/(lower(coalesce(tasks.instance_name, '')) LIKE :name_like ESCAPE '/')/*end*/ AND /*if name_likes*/(EXISTS (SELECT 1 FROM json_each(:name_likes) WHERE lower(coalesce(tasks.instance_name, '')) LIKE value ESCAPE '/'))/*end*/ AND /*if among*/(tasks.instance_name IN (SELECT value FROM json_each(:among)))/*end*/ AND /*if unlike*/(NOT EXISTS (SELECT 1 FROM json_each(:unlike) WHERE lower(coalesce(tasks.instance_name, '')) LIKE value ESCAPE '/'))/*end*/ AND /*if instance_ids*/(tasks.instance_id IN (SELECT value FROM json_each(:instance_ids)))/*end*/ AND /*if storm*/((tasks.source, tasks.job_id) IN (SELECT events.source, events.job_id
FROM events JOIN delivery_events ON delivery_events.event_id = events.id JOIN deliveries ON deliveries.id = delivery_events.delivery_id
WHERE deliveries.storm = :storm))/*end*/ AND /*if unacknowledged*/(EXISTS (SELECT *
FROM events
WHERE events.seq = (SELECT max("of".seq) AS max_1
FROM events AS "of"
WHERE "of".source = tasks.source AND "of".job_id = tasks.job_id) AND (events.type = 'task.failed' OR events.type = 'task.unlisted' OR events.type = 'task.stalled' OR events.type = 'task.overdue' OR events.type = 'task.missing' OR events.type = 'alarm.raised' OR events.type = 'maintenance.awaiting' OR events.type = 'maintenance.failed') AND NOT (EXISTS (SELECT *
FROM acknowledgements
WHERE acknowledgements.event_id = events.id))))/*end*/ AND /*if whole_job_id*/(tasks.job_id = :whole_job_id)/*end*/ AND /*if job_id*/(substr(tasks.job_id, 1, length(:job_id)) = :job_id AND tasks.job_id BETWEEN :job_id AND :job_id || char(1114111))/*end*/ AND /*if after_key*/(tasks.changed_at <= :after_changed_at AND (tasks.changed_at < :after_changed_at OR (tasks.job_id || '/' || tasks.source) > :after_key))/*end*/ GROUP BY tasks.source;
-- name: task_count
-- takes: status, since time, instance, instance_like, instance_names list, instance_id, instance_name, source, sources list, names list, name_like, name_likes list, among list, unlike list, instance_ids list, storm, whole_job_id, job_id, after_changed_at time, after_key
-- gives: number
SELECT count(*) AS number
FROM tasks
WHERE /*if running*/(tasks.status = 'running' AND NOT (EXISTS (SELECT *
FROM sources
WHERE sources.name = tasks.source AND sources.retired_at IS NOT NULL)))/*end*/ AND /*if status*/(tasks.status = :status)/*end*/ AND /*if since*/(tasks.created_at >= :since OR tasks.ended_at >= :since OR tasks.changed_at >= :since)/*end*/ AND /*if instance_like*/(tasks.instance_id = :instance OR lower(tasks.instance_name) LIKE :instance_like ESCAPE '/')/*end*/ AND /*if instance_names*/(tasks.instance_id = :instance OR tasks.instance_name IN (SELECT value FROM json_each(:instance_names)))/*end*/ AND /*if instance_id*/(tasks.instance_id = :instance_id)/*end*/ AND /*if instance_name*/(tasks.instance_name = :instance_name)/*end*/ AND /*if source*/(tasks.source = :source)/*end*/ AND /*if sources*/(tasks.source IN (SELECT value FROM json_each(:sources)))/*end*/ AND /*if names*/(tasks.name IN (SELECT value FROM json_each(:names)))/*end*/ AND /*if name_like*/(lower(coalesce(tasks.instance_name, '')) LIKE :name_like ESCAPE '/')/*end*/ AND /*if name_likes*/(EXISTS (SELECT 1 FROM json_each(:name_likes) WHERE lower(coalesce(tasks.instance_name, '')) LIKE value ESCAPE '/'))/*end*/ AND /*if among*/(tasks.instance_name IN (SELECT value FROM json_each(:among)))/*end*/ AND /*if unlike*/(NOT EXISTS (SELECT 1 FROM json_each(:unlike) WHERE lower(coalesce(tasks.instance_name, '')) LIKE value ESCAPE '/'))/*end*/ AND /*if instance_ids*/(tasks.instance_id IN (SELECT value FROM json_each(:instance_ids)))/*end*/ AND /*if storm*/((tasks.source, tasks.job_id) IN (SELECT events.source, events.job_id
FROM events JOIN delivery_events ON delivery_events.event_id = events.id JOIN deliveries ON deliveries.id = delivery_events.delivery_id
WHERE deliveries.storm = :storm))/*end*/ AND /*if unacknowledged*/(EXISTS (SELECT *
FROM events
WHERE events.seq = (SELECT max("of".seq) AS max_1
FROM events AS "of"
WHERE "of".source = tasks.source AND "of".job_id = tasks.job_id) AND (events.type = 'task.failed' OR events.type = 'task.unlisted' OR events.type = 'task.stalled' OR events.type = 'task.overdue' OR events.type = 'task.missing' OR events.type = 'alarm.raised' OR events.type = 'maintenance.awaiting' OR events.type = 'maintenance.failed') AND NOT (EXISTS (SELECT *
FROM acknowledgements
WHERE acknowledgements.event_id = events.id))))/*end*/ AND /*if whole_job_id*/(tasks.job_id = :whole_job_id)/*end*/ AND /*if job_id*/(substr(tasks.job_id, 1, length(:job_id)) = :job_id AND tasks.job_id BETWEEN :job_id AND :job_id || char(1114111))/*end*/ AND /*if after_key*/(tasks.changed_at <= :after_changed_at AND (tasks.changed_at < :after_changed_at OR (tasks.job_id || '/' || tasks.source) > :after_key))/*end*/;
-- name: fail_reasons
-- takes: status, since time, instance, instance_like, instance_names list, instance_id, instance_name, source, sources list, names list, name_like, name_likes list, among list, unlike list, instance_ids list, storm, whole_job_id, job_id, after_changed_at time, after_key, limit
-- gives: fail_reason
SELECT tasks.fail_reason
FROM tasks
WHERE /*if running*/(tasks.status = 'running' AND NOT (EXISTS (SELECT *
FROM sources
WHERE sources.name = tasks.source AND sources.retired_at IS NOT NULL)))/*end*/ AND /*if status*/(tasks.status = :status)/*end*/ AND /*if since*/(tasks.created_at >= :since OR tasks.ended_at >= :since OR tasks.changed_at >= :since)/*end*/ AND /*if instance_like*/(tasks.instance_id = :instance OR lower(tasks.instance_name) LIKE :instance_like ESCAPE '/')/*end*/ AND /*if instance_names*/(tasks.instance_id = :instance OR tasks.instance_name IN (SELECT value FROM json_each(:instance_names)))/*end*/ AND /*if instance_id*/(tasks.instance_id = :instance_id)/*end*/ AND /*if instance_name*/(tasks.instance_name = :instance_name)/*end*/ AND /*if source*/(tasks.source = :source)/*end*/ AND /*if sources*/(tasks.source IN (SELECT value FROM json_each(:sources)))/*end*/ AND /*if names*/(tasks.name IN (SELECT value FROM json_each(:names)))/*end*/ AND /*if name_like*/(lower(coalesce(tasks.instance_name, '')) LIKE :name_like ESCAPE '/')/*end*/ AND /*if name_likes*/(EXISTS (SELECT 1 FROM json_each(:name_likes) WHERE lower(coalesce(tasks.instance_name, '')) LIKE value ESCAPE '/'))/*end*/ AND /*if among*/(tasks.instance_name IN (SELECT value FROM json_each(:among)))/*end*/ AND /*if unlike*/(NOT EXISTS (SELECT 1 FROM json_each(:unlike) WHERE lower(coalesce(tasks.instance_name, '')) LIKE value ESCAPE '/'))/*end*/ AND /*if instance_ids*/(tasks.instance_id IN (SELECT value FROM json_each(:instance_ids)))/*end*/ AND /*if storm*/((tasks.source, tasks.job_id) IN (SELECT events.source, events.job_id
FROM events JOIN delivery_events ON delivery_events.event_id = events.id JOIN deliveries ON deliveries.id = delivery_events.delivery_id
WHERE deliveries.storm = :storm))/*end*/ AND /*if unacknowledged*/(EXISTS (SELECT *
FROM events
WHERE events.seq = (SELECT max("of".seq) AS max_1
FROM events AS "of"
WHERE "of".source = tasks.source AND "of".job_id = tasks.job_id) AND (events.type = 'task.failed' OR events.type = 'task.unlisted' OR events.type = 'task.stalled' OR events.type = 'task.overdue' OR events.type = 'task.missing' OR events.type = 'alarm.raised' OR events.type = 'maintenance.awaiting' OR events.type = 'maintenance.failed') AND NOT (EXISTS (SELECT *
FROM acknowledgements
WHERE acknowledgements.event_id = events.id))))/*end*/ AND /*if whole_job_id*/(tasks.job_id = :whole_job_id)/*end*/ AND /*if job_id*/(substr(tasks.job_id, 1, length(:job_id)) = :job_id AND tasks.job_id BETWEEN :job_id AND :job_id || char(1114111))/*end*/ AND /*if after_key*/(tasks.changed_at <= :after_changed_at AND (tasks.changed_at < :after_changed_at OR (tasks.job_id || '/' || tasks.source) > :after_key))/*end*/ ORDER BY tasks.changed_at DESC
 LIMIT :limit OFFSET 0;
-- name: seen_runs
-- takes: source, since time, limit
-- gives: name, job_id, instance_id, instance_name, instance_status, status, created_at time, ended_at time, first_seen_at time
SELECT tasks.name, tasks.job_id, tasks.instance_id, tasks.instance_name, tasks.instance_status, tasks.status, tasks.created_at, tasks.ended_at, tasks.first_seen_at
FROM tasks
WHERE tasks.source = :source AND tasks.changed_at >= :since AND tasks.alarm IS NULL ORDER BY tasks.changed_at DESC
 LIMIT :limit OFFSET 0;
-- name: task_results
-- takes: name, changed_since time, status, since time, instance, instance_like, instance_names list, instance_id, instance_name, source, sources list, names list, name_like, name_likes list, among list, unlike list, instance_ids list, storm, whole_job_id, job_id, after_changed_at time, after_key
-- gives: name, status, seconds
SELECT tasks.name, tasks.status, tasks.seconds
FROM tasks
WHERE /*if name*/(tasks.name = :name)/*end*/ AND /*if changed_since*/(tasks.changed_at >= :changed_since)/*end*/ AND /*if running*/(tasks.status = 'running' AND NOT (EXISTS (SELECT *
FROM sources
WHERE sources.name = tasks.source AND sources.retired_at IS NOT NULL)))/*end*/ AND /*if status*/(tasks.status = :status)/*end*/ AND /*if since*/(tasks.created_at >= :since OR tasks.ended_at >= :since OR tasks.changed_at >= :since)/*end*/ AND /*if instance_like*/(tasks.instance_id = :instance OR lower(tasks.instance_name) LIKE :instance_like ESCAPE '/')/*end*/ AND /*if instance_names*/(tasks.instance_id = :instance OR tasks.instance_name IN (SELECT value FROM json_each(:instance_names)))/*end*/ AND /*if instance_id*/(tasks.instance_id = :instance_id)/*end*/ AND /*if instance_name*/(tasks.instance_name = :instance_name)/*end*/ AND /*if source*/(tasks.source = :source)/*end*/ AND /*if sources*/(tasks.source IN (SELECT value FROM json_each(:sources)))/*end*/ AND /*if names*/(tasks.name IN (SELECT value FROM json_each(:names)))/*end*/ AND /*if name_like*/(lower(coalesce(tasks.instance_name, '')) LIKE :name_like ESCAPE '/')/*end*/ AND /*if name_likes*/(EXISTS (SELECT 1 FROM json_each(:name_likes) WHERE lower(coalesce(tasks.instance_name, '')) LIKE value ESCAPE '/'))/*end*/ AND /*if among*/(tasks.instance_name IN (SELECT value FROM json_each(:among)))/*end*/ AND /*if unlike*/(NOT EXISTS (SELECT 1 FROM json_each(:unlike) WHERE lower(coalesce(tasks.instance_name, '')) LIKE value ESCAPE '/'))/*end*/ AND /*if instance_ids*/(tasks.instance_id IN (SELECT value FROM json_each(:instance_ids)))/*end*/ AND /*if storm*/((tasks.source, tasks.job_id) IN (SELECT events.source, events.job_id
FROM events JOIN delivery_events ON delivery_events.event_id = events.id JOIN deliveries ON deliveries.id = delivery_events.delivery_id
WHERE deliveries.storm = :storm))/*end*/ AND /*if unacknowledged*/(EXISTS (SELECT *
FROM events
WHERE events.seq = (SELECT max("of".seq) AS max_1
FROM events AS "of"
WHERE "of".source = tasks.source AND "of".job_id = tasks.job_id) AND (events.type = 'task.failed' OR events.type = 'task.unlisted' OR events.type = 'task.stalled' OR events.type = 'task.overdue' OR events.type = 'task.missing' OR events.type = 'alarm.raised' OR events.type = 'maintenance.awaiting' OR events.type = 'maintenance.failed') AND NOT (EXISTS (SELECT *
FROM acknowledgements
WHERE acknowledgements.event_id = events.id))))/*end*/ AND /*if whole_job_id*/(tasks.job_id = :whole_job_id)/*end*/ AND /*if job_id*/(substr(tasks.job_id, 1, length(:job_id)) = :job_id AND tasks.job_id BETWEEN :job_id AND :job_id || char(1114111))/*end*/ AND /*if after_key*/(tasks.changed_at <= :after_changed_at AND (tasks.changed_at < :after_changed_at OR (tasks.job_id || '/' || tasks.source) > :after_key))/*end*/;
-- name: results_since
-- takes: name, status, since time
-- gives: name, status, seconds
SELECT tasks.name, tasks.status, tasks.seconds
FROM tasks
WHERE tasks.name = :name AND tasks.status = :status AND tasks.changed_at >= :since;
-- name: completed_runs
-- takes: source, name
-- gives: seconds, changed_at time, instance_id
SELECT tasks.seconds, tasks.changed_at, tasks.instance_id
FROM tasks
WHERE tasks.source = :source AND tasks.name = :name AND tasks.status = 'completed' AND tasks.seconds IS NOT NULL ORDER BY tasks.changed_at DESC
 LIMIT 2000 OFFSET 0;
-- name: completed_everywhere
-- takes: name
-- gives: seconds, changed_at time
SELECT tasks.seconds, tasks.changed_at
FROM tasks
WHERE tasks.name = :name AND tasks.status = 'completed' AND tasks.seconds IS NOT NULL ORDER BY tasks.changed_at DESC
 LIMIT 60 OFFSET 0;
-- name: instances
-- takes: wanted, limit
-- gives: instance_id, instance_name
SELECT tasks.instance_id, tasks.instance_name
FROM tasks
WHERE tasks.instance_id = :wanted OR tasks.instance_name = :wanted GROUP BY tasks.instance_id, tasks.instance_name ORDER BY max(tasks.changed_at) DESC, tasks.instance_name
 LIMIT :limit OFFSET 0;
-- name: names_like
-- takes: instance_like, limit
-- gives: name
WITH RECURSIVE names(name) AS
(SELECT min(tasks.instance_name) AS name
FROM tasks UNION ALL SELECT (SELECT min(tasks.instance_name) AS min_1
FROM tasks
WHERE tasks.instance_name > names.name) AS anon_1
FROM names
WHERE names.name IS NOT NULL)
 SELECT names.name
FROM names
WHERE lower(names.name) LIKE :instance_like ESCAPE '/'
 LIMIT :limit OFFSET 0;
-- name: task_names
-- takes:
-- gives: name
WITH RECURSIVE names(name) AS
(SELECT min(tasks.name) AS name
FROM tasks UNION ALL SELECT (SELECT min(tasks.name) AS min_1
FROM tasks
WHERE tasks.name > names.name) AS anon_1
FROM names
WHERE names.name IS NOT NULL)
 SELECT names.name
FROM names
WHERE names.name IS NOT NULL;
-- name: instance_names
-- takes: limit
-- gives: instance_name
SELECT tasks.instance_name
FROM tasks ORDER BY tasks.changed_at DESC
 LIMIT :limit OFFSET 0;
-- name: events
-- takes: type, since time, source, types list, sources list, names list, name_like, name_likes list, among list, unlike list, instance_ids list, whole_job_id, job_id, id, rule, before, limit
-- gives: seq, id, type, source, job_id, occurrence, observed_at time, facts, routes, channels, channel_count
SELECT events.seq, events.id, events.type, events.source, events.job_id, events.occurrence, events.observed_at, events.facts, events.routes, events.channels, events.channel_count
FROM events
WHERE /*if type*/(events.type = :type)/*end*/ AND /*if since*/(events.observed_at >= :since)/*end*/ AND /*if source*/(events.source = :source)/*end*/ AND /*if types*/(events.type IN (SELECT value FROM json_each(:types)))/*end*/ AND /*if sources*/(events.source IN (SELECT value FROM json_each(:sources)))/*end*/ AND /*if names*/((events.source, events.job_id) IN (SELECT tasks.source, tasks.job_id
FROM tasks
WHERE tasks.name IN (SELECT value FROM json_each(:names))))/*end*/ AND /*if name_like*/((events.source, events.job_id) IN (SELECT tasks.source, tasks.job_id
FROM tasks
WHERE lower(coalesce(tasks.instance_name, '')) LIKE :name_like ESCAPE '/'))/*end*/ AND /*if name_likes*/((events.source, events.job_id) IN (SELECT tasks.source, tasks.job_id
FROM tasks
WHERE EXISTS (SELECT 1 FROM json_each(:name_likes) WHERE lower(coalesce(tasks.instance_name, '')) LIKE value ESCAPE '/')))/*end*/ AND /*if among*/((events.source, events.job_id) IN (SELECT tasks.source, tasks.job_id
FROM tasks
WHERE tasks.instance_name IN (SELECT value FROM json_each(:among))))/*end*/ AND /*if unlike*/((events.source, events.job_id) IN (SELECT tasks.source, tasks.job_id
FROM tasks
WHERE NOT EXISTS (SELECT 1 FROM json_each(:unlike) WHERE lower(coalesce(tasks.instance_name, '')) LIKE value ESCAPE '/')))/*end*/ AND /*if instance_ids*/((events.source, events.job_id) IN (SELECT tasks.source, tasks.job_id
FROM tasks
WHERE tasks.instance_id IN (SELECT value FROM json_each(:instance_ids))))/*end*/ AND /*if whole_job_id*/(events.job_id = :whole_job_id)/*end*/ AND /*if job_id*/(substr(events.job_id, 1, length(:job_id)) = :job_id AND events.job_id BETWEEN :job_id AND :job_id || char(1114111))/*end*/ AND /*if id*/(substr(events.id, 1, length(:id)) = :id AND events.id BETWEEN :id AND :id || char(1114111))/*end*/ AND /*if rule*/(events.id IN (SELECT delivery_events.event_id
FROM deliveries JOIN delivery_events ON delivery_events.delivery_id = deliveries.id
WHERE deliveries.rule = :rule AND deliveries.state = 'suppressed'))/*end*/ AND /*if before*/(events.seq < :before)/*end*/ ORDER BY events.seq DESC
 LIMIT :limit OFFSET 0;
-- name: mutes
-- takes: now time
-- gives: id, instance, label, matchers, except_failures boolean, by, name, reason, created_at time, cron, timezone, seconds, last time, configured boolean, announce boolean, since time, until time, begun boolean, announced, ended_by, due_at time
SELECT mutes.id, mutes.instance, mutes.label, mutes.matchers, mutes.except_failures, mutes."by", mutes.name, mutes.reason, mutes.created_at, mutes.cron, mutes.timezone, mutes.seconds, mutes.last, mutes.configured, mutes.announce, mutes.since, mutes.until, mutes.begun, mutes.announced, mutes.ended_by, mutes.due_at
FROM mutes
WHERE mutes.until > :now AND mutes.since <= :now AND mutes.due_at IS NOT NULL ORDER BY mutes.until, mutes.id;
-- name: known_mutes
-- takes: now time
-- gives: id, instance, label, matchers, except_failures boolean, by, name, reason, created_at time, cron, timezone, seconds, last time, configured boolean, announce boolean, since time, until time, begun boolean, announced, ended_by, due_at time
SELECT mutes.id, mutes.instance, mutes.label, mutes.matchers, mutes.except_failures, mutes."by", mutes.name, mutes.reason, mutes.created_at, mutes.cron, mutes.timezone, mutes.seconds, mutes.last, mutes.configured, mutes.announce, mutes.since, mutes.until, mutes.begun, mutes.announced, mutes.ended_by, mutes.due_at
FROM mutes
WHERE mutes.until > :now AND mutes.due_at IS NOT NULL ORDER BY mutes.since, mutes.until, mutes.id;
-- name: held_counts
-- takes: rule, since time
-- gives: type, number
SELECT events.type, count(*) AS number
FROM events
WHERE events.id IN (SELECT delivery_events.event_id
FROM deliveries JOIN delivery_events ON delivery_events.delivery_id = deliveries.id
WHERE deliveries.rule = :rule AND deliveries.state = 'suppressed' AND deliveries.created_at >= :since) GROUP BY events.type ORDER BY events.type;
-- name: held_named
-- takes: rule, since time, limit
-- gives: facts
SELECT events.facts
FROM events
WHERE events.id IN (SELECT delivery_events.event_id
FROM deliveries JOIN delivery_events ON delivery_events.delivery_id = deliveries.id
WHERE deliveries.rule = :rule AND deliveries.state = 'suppressed' AND deliveries.created_at >= :since) AND (events.type = 'task.failed' OR events.type = 'task.unlisted' OR events.type = 'task.stalled' OR events.type = 'task.overdue' OR events.type = 'task.missing' OR events.type = 'alarm.raised' OR events.type = 'maintenance.awaiting' OR events.type = 'maintenance.failed') ORDER BY events.seq
 LIMIT :limit OFFSET 0;
-- name: held_channels
-- takes: rule, since time
-- gives: channel
SELECT DISTINCT deliveries.channel
FROM deliveries JOIN delivery_events ON delivery_events.delivery_id = deliveries.id
WHERE deliveries.rule = :rule AND deliveries.state = 'suppressed' AND deliveries.created_at >= :since ORDER BY deliveries.channel;
-- name: tickets
-- takes: operation
-- gives: channel, operation, generation, key, state, ref, label, url, status, closed_at time, closed_by, previous, wanted_by, failed_at time, solved_at time, attempted_at time, changed_at time
SELECT tickets.channel, tickets.operation, tickets.generation, tickets."key", tickets.state, tickets.ref, tickets.label, tickets.url, tickets.status, tickets.closed_at, tickets.closed_by, tickets.previous, tickets.wanted_by, tickets.failed_at, tickets.solved_at, tickets.attempted_at, tickets.changed_at
FROM tickets
WHERE tickets.operation = :operation ORDER BY tickets.channel, tickets.generation;
-- name: open_failures
-- takes:
-- gives: facts
SELECT failures.facts
FROM failures
WHERE failures.state = 'open' OR failures.state = 'acknowledged';
-- name: unacknowledged_count
-- takes:
-- gives: number
SELECT count(*) AS number
FROM failures
WHERE failures.state = 'open';
-- name: failures_of
-- takes: operation
-- gives: facts
SELECT failures.facts
FROM failures
WHERE failures.operation = :operation ORDER BY failures.opened_at, failures.id;
-- name: event_subscriptions
-- takes:
-- gives: id, channel, matchers, by, name, created_at time
SELECT event_subscriptions.id, event_subscriptions.channel, event_subscriptions.matchers, event_subscriptions."by", event_subscriptions.name, event_subscriptions.created_at
FROM event_subscriptions ORDER BY event_subscriptions.created_at, event_subscriptions.id;
-- name: actions
-- takes: before, since time, by, verb, limit
-- gives: seq, at time, by, name, verb, target, detail
SELECT actions.seq, actions.at, actions."by", actions.name, actions.verb, actions.target, actions.detail
FROM actions
WHERE /*if before*/(actions.seq < :before)/*end*/ AND /*if since*/(actions.at >= :since)/*end*/ AND /*if by*/(actions."by" = :by OR actions.name = :by)/*end*/ AND /*if verb*/(actions.verb = :verb)/*end*/ ORDER BY actions.seq DESC
 LIMIT :limit OFFSET 0;
-- name: deliveries
-- takes: state, channel, id, event_ids list, before, limit
-- gives: seq, id, channel, subject, state, digest boolean, attempt, earlier_attempts, available_at time, claimed_by, begun boolean, outcome_unknown boolean, reason, ref, body, content_type, recipients, created_at time, settled_at time, dismissed_at time, retried_at time, rank, routing, storm, rule, reply
SELECT deliveries.seq, deliveries.id, deliveries.channel, deliveries.subject, deliveries.state, deliveries.digest, deliveries.attempt, deliveries.earlier_attempts, deliveries.available_at, deliveries.claimed_by, deliveries.begun, deliveries.outcome_unknown, deliveries.reason, deliveries.ref, deliveries.body, deliveries.content_type, deliveries.recipients, deliveries.created_at, deliveries.settled_at, deliveries.dismissed_at, deliveries.retried_at, deliveries.rank, deliveries.routing, deliveries.storm, deliveries.rule, (SELECT attempts.reply
FROM attempts
WHERE attempts.delivery_id = deliveries.id ORDER BY attempts.number DESC
 LIMIT 1 OFFSET 0) AS reply
FROM deliveries
WHERE /*if state*/(deliveries.state = :state)/*end*/ AND /*if channel*/(deliveries.channel = :channel)/*end*/ AND /*if dismissed*/(deliveries.dismissed_at IS NOT NULL)/*end*/ AND /*if undismissed*/(deliveries.dismissed_at IS NULL)/*end*/ AND /*if held*/(deliveries.rule IS NOT NULL AND deliveries.state = 'pending')/*end*/ AND /*if unheld*/(deliveries.rule IS NULL OR deliveries.state != 'pending')/*end*/ AND /*if id*/(substr(deliveries.id, 1, length(:id)) = :id AND deliveries.id BETWEEN :id AND :id || char(1114111))/*end*/ AND /*if event_ids*/(deliveries.id IN (SELECT delivery_events.delivery_id
FROM delivery_events
WHERE delivery_events.event_id IN (SELECT value FROM json_each(:event_ids))))/*end*/ AND /*if before*/(deliveries.seq < :before)/*end*/ ORDER BY deliveries.seq DESC
 LIMIT :limit OFFSET 0;
-- name: delivery_ids
-- takes: state, channel, id, event_ids list, before
-- gives: id
SELECT deliveries.id
FROM deliveries
WHERE /*if state*/(deliveries.state = :state)/*end*/ AND /*if channel*/(deliveries.channel = :channel)/*end*/ AND /*if dismissed*/(deliveries.dismissed_at IS NOT NULL)/*end*/ AND /*if undismissed*/(deliveries.dismissed_at IS NULL)/*end*/ AND /*if held*/(deliveries.rule IS NOT NULL AND deliveries.state = 'pending')/*end*/ AND /*if unheld*/(deliveries.rule IS NULL OR deliveries.state != 'pending')/*end*/ AND /*if id*/(substr(deliveries.id, 1, length(:id)) = :id AND deliveries.id BETWEEN :id AND :id || char(1114111))/*end*/ AND /*if event_ids*/(deliveries.id IN (SELECT delivery_events.delivery_id
FROM delivery_events
WHERE delivery_events.event_id IN (SELECT value FROM json_each(:event_ids))))/*end*/ AND /*if before*/(deliveries.seq < :before)/*end*/ ORDER BY deliveries.seq;
-- name: events_of_deliveries
-- takes: ids list
-- gives: delivery_id, facts
SELECT delivery_events.delivery_id, (SELECT events.facts
FROM events
WHERE events.id = delivery_events.event_id) AS facts
FROM delivery_events
WHERE delivery_events.delivery_id IN (SELECT value FROM json_each(:ids)) ORDER BY delivery_events.delivery_id, delivery_events.position;
-- name: storms
-- takes: ids list
-- gives: id, channel, source, started_at time, updated_at time, ended_at time, facts
SELECT storms.id, storms.channel, storms.source, storms.started_at, storms.updated_at, storms.ended_at, storms.facts
FROM storms
WHERE storms.id IN (SELECT value FROM json_each(:ids));
-- name: attempts
-- takes: ids list
-- gives: delivery_id, number, started_at time, finished_at time, outcome, reason, resolution, reply
SELECT attempts.delivery_id, attempts.number, attempts.started_at, attempts.finished_at, attempts.outcome, attempts.reason, attempts.resolution, attempts.reply
FROM attempts
WHERE attempts.delivery_id IN (SELECT value FROM json_each(:ids)) ORDER BY attempts.delivery_id, attempts.number;
-- name: recorded_events
-- takes: since time, until time
-- gives: seq, id, type, source, job_id, occurrence, observed_at time, facts, routes, channels, channel_count
SELECT events.seq, events.id, events.type, events.source, events.job_id, events.occurrence, events.observed_at, events.facts, events.routes, events.channels, events.channel_count
FROM events
WHERE events.observed_at >= :since AND events.observed_at < :until ORDER BY events.observed_at, events.seq;
-- name: recorded_deliveries
-- takes: since time, until time
-- gives: seq, id, channel, subject, state, digest boolean, attempt, earlier_attempts, available_at time, claimed_by, begun boolean, outcome_unknown boolean, reason, ref, recipients, created_at time, settled_at time, dismissed_at time, retried_at time, rank, routing, storm, rule, body, content_type
SELECT deliveries.seq, deliveries.id, deliveries.channel, deliveries.subject, deliveries.state, deliveries.digest, deliveries.attempt, deliveries.earlier_attempts, deliveries.available_at, deliveries.claimed_by, deliveries.begun, deliveries.outcome_unknown, deliveries.reason, deliveries.ref, deliveries.recipients, deliveries.created_at, deliveries.settled_at, deliveries.dismissed_at, deliveries.retried_at, deliveries.rank, deliveries.routing, deliveries.storm, deliveries.rule, NULL AS body, NULL AS content_type
FROM deliveries
WHERE deliveries.id IN (SELECT delivery_events.delivery_id
FROM delivery_events JOIN events ON delivery_events.event_id = events.id
WHERE events.observed_at >= :since AND events.observed_at < :until) ORDER BY deliveries.seq;
-- name: recorded_pairs
-- takes: since time, until time
-- gives: delivery_id, event_id
SELECT delivery_events.delivery_id, delivery_events.event_id
FROM delivery_events JOIN events ON delivery_events.event_id = events.id
WHERE events.observed_at >= :since AND events.observed_at < :until ORDER BY delivery_events.delivery_id, delivery_events.position;
-- name: recorded_acknowledgements
-- takes: since time, until time
-- gives: event_id, by, name, at time
SELECT acknowledgements.event_id, acknowledgements."by", acknowledgements.name, acknowledgements.at
FROM acknowledgements JOIN events ON events.id = acknowledgements.event_id
WHERE events.observed_at >= :since AND events.observed_at < :until ORDER BY acknowledgements.at, acknowledgements.event_id;
-- name: recorded_mutes
-- takes: since time, until time
-- gives: id, instance, label, matchers, except_failures boolean, by, name, reason, created_at time, cron, timezone, seconds, last time, configured boolean, announce boolean, since time, until time, begun boolean, announced, ended_by, due_at time
SELECT mutes.id, mutes.instance, mutes.label, mutes.matchers, mutes.except_failures, mutes."by", mutes.name, mutes.reason, mutes.created_at, mutes.cron, mutes.timezone, mutes.seconds, mutes.last, mutes.configured, mutes.announce, mutes.since, mutes.until, mutes.begun, mutes.announced, mutes.ended_by, mutes.due_at
FROM mutes
WHERE NOT mutes.configured AND mutes.until > :since AND mutes.created_at < :until ORDER BY mutes.created_at, mutes.id;
-- name: recorded_calendars
-- takes:
-- gives: name, origin, entries, fetched_at time, tried_at time, next_at time, error
SELECT calendars.name, calendars.origin, calendars.entries, calendars.fetched_at, calendars.tried_at, calendars.next_at, calendars.error
FROM calendars ORDER BY calendars.name;
-- name: first_record
-- takes:
-- gives: at time
SELECT min(events.observed_at) AS at
FROM events;
-- name: channels
-- takes:
-- gives: name, parked_since time, reason, probe_at time, settings_digest, failures, failing_since time, announced_since time, given_up_until time, good_at time, open_until time, paused_until time, rate_at time
SELECT channels.name, channels.parked_since, channels.reason, channels.probe_at, channels.settings_digest, channels.failures, channels.failing_since, channels.announced_since, channels.given_up_until, channels.good_at, channels.open_until, channels.paused_until, channels.rate_at
FROM channels ORDER BY channels.name;
-- name: replicas
-- takes:
-- gives: owner, roles, started_at time, seen_at time, stopped_at time, chat_down_since time, chat_error
SELECT replicas.owner, replicas.roles, replicas.started_at, replicas.seen_at, replicas.stopped_at, replicas.chat_down_since, replicas.chat_error
FROM replicas ORDER BY replicas.started_at, replicas.owner;
-- name: calendars
-- takes:
-- gives: name, fetched_at time, tried_at time, error
SELECT calendars.name, calendars.fetched_at, calendars.tried_at, calendars.error
FROM calendars ORDER BY calendars.name;
-- name: origin_counts
-- takes: since time
-- gives: searched, explained
SELECT count(*) AS searched, count(origins.trace_id) AS explained
FROM origins
WHERE origins.ended_at IS NOT NULL AND /*if since*/(origins.ended_at >= :since)/*end*/;
-- name: origin_lags
-- takes: since time, limit
-- gives: lag
SELECT origins.lag
FROM origins
WHERE origins.ended_at IS NOT NULL AND origins.lag IS NOT NULL AND /*if since*/(origins.ended_at >= :since)/*end*/ ORDER BY origins.ended_at DESC
 LIMIT :limit OFFSET 0;
-- name: maintenances
-- takes: since time
-- gives: facts
SELECT maintenances.facts
FROM maintenances
WHERE maintenances.over IS 0 OR maintenances.changed_at >= :since;
-- name: missing_rights
-- takes:
-- gives: source, part, action, since time, retry_at time, refusals
SELECT missing_rights.source, missing_rights.part, missing_rights.action, missing_rights.since, missing_rights.retry_at, missing_rights.refusals
FROM missing_rights ORDER BY missing_rights.source, missing_rights.part;
-- name: accounts
-- takes:
-- gives: name, origin, next_at time, tried_at time, read_at time, error, revision
SELECT accounts.name, accounts.origin, accounts.next_at, accounts.tried_at, accounts.read_at, accounts.error, accounts.revision
FROM accounts ORDER BY accounts.name;
-- name: projects
-- takes:
-- gives: account, project_id, region, name, source, found_at time, missed, missing_since time, gone_at time
SELECT projects.account, projects.project_id, projects.region, projects.name, projects.source, projects.found_at, projects.missed, projects.missing_since, projects.gone_at
FROM projects
WHERE projects.gone_at IS NULL ORDER BY projects.account, projects.source;
-- name: doorbell_topics
-- takes:
-- gives: urn, confirmed_at time, ended_at time, failed_at time, error
SELECT doorbell_topics.urn, doorbell_topics.confirmed_at, doorbell_topics.ended_at, doorbell_topics.failed_at, doorbell_topics.error
FROM doorbell_topics ORDER BY doorbell_topics.urn;
-- name: calendar_entries
-- takes: names list
-- gives: name, entries
SELECT calendars.name, calendars.entries
FROM calendars
WHERE calendars.name IN (SELECT value FROM json_each(:names));
-- name: backlogs
-- takes:
-- gives: channel, state, number, first time, last time
SELECT deliveries.channel, deliveries.state, count(*) AS number, min(coalesce(deliveries.retried_at, deliveries.created_at)) AS first, max(coalesce(deliveries.retried_at, deliveries.created_at)) AS last
FROM deliveries
WHERE deliveries.state = 'pending' AND deliveries.rule IS NULL GROUP BY deliveries.channel, deliveries.state UNION ALL SELECT deliveries.channel, deliveries.state, count(*) AS number, min(deliveries.created_at) AS first, max(deliveries.created_at) AS last
FROM deliveries
WHERE deliveries.state = 'parked' GROUP BY deliveries.channel, deliveries.state UNION ALL SELECT deliveries.channel, deliveries.state, count(*) AS number, min(deliveries.settled_at) AS first, max(deliveries.settled_at) AS last
FROM deliveries
WHERE deliveries.state = 'dead' AND deliveries.dismissed_at IS NULL GROUP BY deliveries.channel, deliveries.state;
-- name: pending_reasons
-- takes: channel
-- gives: reason, reply
SELECT deliveries.reason, (SELECT attempts.reply
FROM attempts
WHERE attempts.delivery_id = deliveries.id ORDER BY attempts.number DESC
 LIMIT 1 OFFSET 0) AS reply
FROM deliveries
WHERE deliveries.channel = :channel AND deliveries.state = 'pending' AND deliveries.rule IS NULL ORDER BY deliveries.rank, deliveries.seq
 LIMIT 100 OFFSET 0;
-- name: dead_reason
-- takes: channel
-- gives: reason, reply
SELECT deliveries.reason, (SELECT attempts.reply
FROM attempts
WHERE attempts.delivery_id = deliveries.id ORDER BY attempts.number DESC
 LIMIT 1 OFFSET 0) AS reply
FROM deliveries
WHERE deliveries.channel = :channel AND deliveries.state = 'dead' AND deliveries.dismissed_at IS NULL ORDER BY deliveries.seq DESC
 LIMIT 1 OFFSET 0;
-- name: ledger
-- takes:
-- gives: events, pairs, unrouted
SELECT count(*) AS events, coalesce(sum(events.channel_count), 0) AS pairs, count(*) FILTER (WHERE events.channel_count = 0) AS unrouted
FROM events;
-- name: ledger_states
-- takes:
-- gives: state, pairs
SELECT deliveries.state, count(*) AS pairs
FROM deliveries JOIN delivery_events ON delivery_events.delivery_id = deliveries.id GROUP BY deliveries.state;
-- name: ledger_oldest
-- takes:
-- gives: oldest time
SELECT min(deliveries.created_at) AS oldest
FROM deliveries
WHERE deliveries.state = 'pending' AND deliveries.rule IS NULL;
-- name: ledger_unequal
-- takes:
-- gives: seq, id, type, source, job_id, occurrence, observed_at time, facts, routes, channels, channel_count
SELECT events.seq, events.id, events.type, events.source, events.job_id, events.occurrence, events.observed_at, events.facts, events.routes, events.channels, events.channel_count
FROM events
WHERE events.channel_count != (SELECT count(*) AS count_1
FROM delivery_events
WHERE delivery_events.event_id = events.id);
-- name: ledger_channels
-- takes: event_id
-- gives: channel
SELECT delivery_events.channel
FROM delivery_events
WHERE delivery_events.event_id = :event_id;
-- name: ledger_unrouted
-- takes:
-- gives: id, channel
SELECT events.id, delivery_events.channel
FROM events JOIN delivery_events ON delivery_events.event_id = events.id
WHERE (events.channels NOT LIKE '%' || '"' || delivery_events.channel || '"' || '%');