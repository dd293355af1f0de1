# Scheme 5 of Table IV: the baseline, and an IGP-GCN that the teacher's pose teaches.
_base_ = ['../crowdpose/stage2_igpgcn_crowdpose.py']

model = dict(student_checkpoint='work_dirs/simcc_hrnet-w32_4xb32-210e_crowdpose-256x192')
