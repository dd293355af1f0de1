# Scheme 4 of Table IV: the full stage 1 (Eq. 5).
_base_ = ['tskd-stage1_simcc_hrnet-w48-to-w32_4xb32-210e_crowdpose-256x192.py']
