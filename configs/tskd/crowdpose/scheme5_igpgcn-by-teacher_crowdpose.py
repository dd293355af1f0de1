# Scheme 5 of Table IV: the baseline, and an IGP-GCN that the teacher's pose teaches.
_base_ = ['tskd-stage2_simcc_hrnet-w48-to-w32-igpgcn_4xb32-30e_crowdpose-256x192.py']

model = dict(student_checkpoint='work_dirs/simcc_hrnet-w32_4xb32-210e_crowdpose-256x192')
