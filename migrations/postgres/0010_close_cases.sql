-- The program closes the case of a subscription's session itself, in the same transaction.
DROP TRIGGER unmatched_fulfilled ON subscriptions;
DROP FUNCTION close_fulfilled_unmatched();
