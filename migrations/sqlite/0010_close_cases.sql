-- The program closes the case of a subscription's session itself, in the same transaction: a trigger for each row cost a
-- twentieth of a whole purchase.
DROP TRIGGER unmatched_fulfilled;
