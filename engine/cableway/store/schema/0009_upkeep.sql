-- What is kept of attempts for those who look after runs.

ALTER TABLE attempts ADD COLUMN profile jsonb;
COMMENT ON COLUMN attempts.profile IS 'how long the workers of each stage were busy at a time; what runs explain replays';
