-- Nothing looks events up by their object, and an index over random ids costs each event a page.
DROP INDEX events_by_object;
