-- Which tenant's path told of a session. Partial: events at the platform's own endpoint cost nothing more.
CREATE INDEX events_by_path ON events (object_id) WHERE tenant_slug IS NOT NULL;
